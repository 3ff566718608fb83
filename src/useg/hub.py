"""Models of the Hugging Face Hub: `hf://owner/name`, fetched once and kept in the cache that its other tools use."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from pathlib import Path
from typing import Any

from useg.errors import MissingError, ModelError, SettingsError, extra

FILE = "model.safetensors"
"""Nothing else is fetched: it is the whole model, and runs nothing when it is read."""
MOST_BYTES = 4_000_000_000
"""A larger file is not believed to be a model."""
TIMEOUT = 10
"""Seconds that it may take to answer."""
_ADDRESS = re.compile(r"hf:/{1,2}(?P<name>[^/@]+/[^/@]+)(@(?P<revision>.+))?")
"""With one stroke where it has been a `Path`."""
_SHA256 = re.compile("[0-9a-f]{64}")


def local_model(model: str | Path, cache: Path | None = None) -> Path:
    """The path of a model file or run folder; one of the Hub, `hf://owner/name[@revision]`, is fetched if it is new.

    Without a network the newest one that was fetched serves. Environment variables of Hugging Face hold: HF_ENDPOINT,
    HF_HOME, HF_TOKEN, HF_HUB_OFFLINE.

    Args:
        model: any path is returned as it is. cache: folder to keep it in; by default that of Hugging Face's tools.

    Raises:
        MissingError: there is no such model, or it cannot be reached. ModelError: the file is too large, or damaged.
        SettingsError: the address is none. MissingExtraError: huggingface_hub is not here.
    """
    text = model.as_posix() if isinstance(model, Path) else model
    if not text.startswith("hf:"):
        return Path(model)
    address = _ADDRESS.fullmatch(text)
    if not address:
        raise SettingsError(f"{text}: not the address of a model; write hf://owner/name or hf://owner/name@revision")
    name, revision = address["name"], address["revision"]
    told = f"hf://{name}" + (f"@{revision}" if revision else "")
    # Without this, it would tell what is installed here.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    with extra(told, "train"):
        import huggingface_hub
        from huggingface_hub.errors import LocalEntryNotFoundError

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # else it advertises on the terminal
    endpoint, reason = os.environ.get("HF_ENDPOINT"), ""
    try:
        size = _size(name, revision, endpoint, told)
        if size is None or size > MOST_BYTES:
            raise _too_large(told)
    except _UnreachedError as error:
        reason = str(error)
    try:
        path = huggingface_hub.hf_hub_download(
            name,
            FILE,
            revision=revision,
            endpoint=endpoint,
            cache_dir=cache,
            local_files_only=bool(reason),
            tqdm_class=_bounded(told),
        )
    except LocalEntryNotFoundError as error:
        raise MissingError(
            f"{told}: cannot be reached ({reason or _first_line(error)}), and was not fetched before; look at the "
            "network, or give a model file"
        ) from error
    except ModelError:
        raise
    except Exception as error:
        raise MissingError(f"{told}: cannot be fetched ({_first_line(error)}); try again later") from error
    _verify(Path(path), told)
    return Path(path)


class _UnreachedError(Exception):
    """The Hub does not answer, or says that it cannot."""


def _size(name: str, revision: str | None, endpoint: str | None, told: str) -> int | None:
    """Bytes of the file, as the Hub says."""
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    try:
        url = hf_hub_url(name, FILE, revision=revision, endpoint=endpoint)
        return get_hf_file_metadata(url, timeout=TIMEOUT, endpoint=endpoint).size
    except errors.HFValidationError as error:
        raise SettingsError(f"{told}: not the address of a model ({_first_line(error)})") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        raise MissingError(f"{told}: {_refusal(error)}") from error
    except Exception as error:  # of whatever library brings the network
        raise _UnreachedError(_first_line(error)) from error


def _bounded(told: str) -> type:
    """Counts what arrives, in silence, and stops what goes on for longer than was said."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    class Bounded(tqdm):  # type: ignore[misc]
        arrived = 0

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options | {"disable": True})

        def update(self, n: Any = 1) -> None:
            self.arrived += n
            if self.arrived > MOST_BYTES:
                raise _too_large(told)

    return Bounded


def _too_large(told: str) -> ModelError:
    return ModelError(f"{told}: its {FILE} has more than {MOST_BYTES / 1e9:g} GB, or no size; that is not a useg model")


def _verify(path: Path, told: str) -> None:
    """Hold the file against its checksum, where the Hub knows one: then it is the name of the file behind the link."""
    stored = path.resolve()
    if not _SHA256.fullmatch(stored.name):
        return
    with stored.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != stored.name:
        raise ModelError(f"{told}: its file is damaged; delete {stored} and fetch it again")


def _refusal(error: Exception) -> str:
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            return "its owner lets in whom they choose; ask on its page, then log in with `hf auth login`"
        case errors.RepositoryNotFoundError():
            return "there is no such model, or it is private; look at its name, or log in with `hf auth login`"
        case errors.RevisionNotFoundError():
            return "it has no such revision; name a branch, a tag or a commit"
        case _:
            return f"it holds no {FILE}; it was not made by `useg export --to hub`"


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
