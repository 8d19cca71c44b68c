"""The gRPC edge of the control plane: requests in, one call each, replies and statuses out."""
