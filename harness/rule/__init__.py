"""`racs rule`: what offload rules select, in words and in captures."""
