"""Whether the Hub answers, asked once."""

from __future__ import annotations


def hub_answers() -> bool:
    """Whether the Hub answers one request, whatever it says; False where the environment says offline.

    For a file that was never fetched, its client asks six times with growing pauses, and transformers asks
    for several files: three quarters of a minute without a network. Without an answer, read the cache alone.
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception:  # the transport's errors: the client's versions rest on different libraries
        return False
    return True
