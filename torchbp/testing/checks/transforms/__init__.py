"""What torch makes of the code: forward mode, vmap, the Hessian, compiled code, checkpoints, the meta device."""
