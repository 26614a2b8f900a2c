"""JAX as a peer."""
