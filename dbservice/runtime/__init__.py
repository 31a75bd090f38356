"""What every process of Rosey needs: a clock, logs, correlation ids, metrics, health over HTTP."""
