"""What goes on beside the stages: backpressure, trimming, pauses, keepalive, delayed retries, timing."""
