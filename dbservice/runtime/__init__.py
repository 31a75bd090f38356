"""What every process of Rosey needs: a clock, logs, correlation ids, traces, health over HTTP."""
