"""What runs next to the stages: backpressure, trimming, pauses, keepalive, delayed retries, timing."""
