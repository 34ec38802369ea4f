"""Exceptions whose message is written for the person at the keyboard: what was found, what is allowed, what to do."""

import errno


class NerfcompError(Exception):
    """Base of every error that a user can cause and cure."""


class SettingsError(NerfcompError, ValueError):
    """Settings do not fit each other or the data, which shows only once a run begins."""


class SceneError(NerfcompError, ValueError):
    """A scene on disk cannot be read as it is."""


class VolumeError(NerfcompError, ValueError):
    """A volume on disk cannot be read, or not be compressed as it is."""


class ContainerError(NerfcompError, ValueError):
    """A ``.nfc`` file or one of its bitstreams is damaged, foreign or not allowed."""


class CheckpointError(NerfcompError, ValueError):
    """A checkpoint is missing, damaged or belongs to another model."""


class DivergedError(NerfcompError, ArithmeticError):
    """Losses, densities or weights of a training run are no longer finite."""


class MissingExtraError(NerfcompError, ImportError):
    """An optional package is needed; the message names the command that installs it."""


def said(error: Exception) -> str:
    """What an error says to the person at the keyboard; errors of the operating system name file and cause.

    >>> said(FileNotFoundError(2, "No such file or directory", "a/b"))
    'a/b: No such file or directory. Mend the path, or its permissions.'
    """
    if not isinstance(error, OSError) or isinstance(error, NerfcompError) or error.strerror is None:
        return str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.filename or 'The disk'}: {error.strerror}. Free some space, or set TMPDIR to another disk."
    return f"{error.filename or 'A file'}: {error.strerror}. Mend the path, or its permissions."
