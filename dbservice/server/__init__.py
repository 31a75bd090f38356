"""A request's way through the service: read, admitted, executed, answered, observed."""
