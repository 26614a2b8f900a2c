"""The check `module`: what a module promises besides its forward."""
