"""Checks of the arguments of layers with running statistics, and what one step passes on."""

from torchbp.ops.normalisation._normalised import check_dtypes


def check_dims(operation, x, error):
    """Raise this class of error for an input without rows and channels."""
    if x.dim() < 2:
        raise error(f"{operation}: input has the shape {tuple(x.shape)}; give (N, C, …)")


def check_tensors(operation, x, running_mean, running_var, weight, bias, training):
    """Raise torch's class of error for arguments that do not fit: its kernel itself would read beyond their ends.

    Args:
        operation: its name, for the message.
        training: whether μ and σ² are those of x.
    """
    if (running_mean is None) != (running_var is None):
        missing = "running_mean" if running_mean is None else "running_var"
        raise ValueError(f"{operation}: {missing} is None, and the other is given; give both or neither")
    if running_mean is None and not training:
        raise RuntimeError(f"{operation}: running_mean is None; outside training give both running statistics")
    tensors = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for name, tensor in tensors.items():
        if tensor is not None and tensor.shape != (x.shape[1],):
            raise RuntimeError(
                f"{operation}: {name} has the shape {tuple(tensor.shape)}; give ({x.shape[1]},), a number for each "
                f"channel of input {tuple(x.shape)}"
            )
    check_dtypes(operation, x, **tensors)


def next_step(running_mean, running_var, num_batches_tracked, track_running_stats, training, momentum):
    """What a module's step gives to `batch_norm`: running_mean, running_var, training, momentum. It counts the batch.

    With `momentum` None the running statistics are the means over all batches, m = 1/(their number).
    """
    if training and track_running_stats and num_batches_tracked is not None:
        num_batches_tracked.add_(1)
        if momentum is None:
            momentum = 1.0 / float(num_batches_tracked)
    by_batch = training or (running_mean is None and running_var is None)
    if training and not track_running_stats:
        running_mean = running_var = None
    return running_mean, running_var, by_batch, 0.0 if momentum is None else momentum
