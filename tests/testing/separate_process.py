"""Audit in a process of its own, since what is audited may end it."""

import multiprocessing


def messages_of(work, patience, method="fork"):
    """What `work(send)` sends, and how its process ended: None if it returned, else words.

    Args:
        work: a function of `send`, which takes one message. A spawned process needs one that can be pickled.
        patience: seconds without a message after which the process is ended.
        method: "spawn" where there is a GPU, which a forked process cannot use.
    """
    context = multiprocessing.get_context(method)
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(work, writer))
    process.start()
    writer.close()
    messages, ending = [], f"sends nothing for {patience:g} s"
    while reader.poll(patience):
        try:
            messages.append(reader.recv())
        except EOFError:
            process.join()
            ending = f"the process ends with {process.exitcode}" if process.exitcode else None
            break
    process.kill()
    process.join()
    return messages, ending


def _run(work, writer):
    work(writer.send)
