"""Download a listed model into the Hugging Face cache and verify it."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from search.encoders import (
    REGISTRY,
    TOKENIZER_FILES,
    WEIGHTS,
    WEIGHTS_INDEX,
    EncoderError,
    ModelSpec,
    file_sha256,
    identify,
    spec_for,
)

TIMEOUT = 20
WEIGHT_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
SIDE_FILES = frozenset(
    {"config.json", "preprocessor_config.json", "processor_config.json", "special_tokens_map.json"}
    | {"added_tokens.json", *TOKENIZER_FILES}
)
# The hub's own converter offers safetensors as a pull request where a repository holds pickled weights only.
CONVERTER = "SFconvertbot"


def wanted(name: str) -> bool:
    """Whether a repository's file is part of what we load: safetensors, configuration, tokenizer."""
    return name in SIDE_FILES or name in (WEIGHTS, WEIGHTS_INDEX) or WEIGHT_SHARD.fullmatch(name) is not None


class Command(BaseCommand):
    help = "Download a model (safetensors, tokenizer and configuration only) and verify every file."
    # It also runs where no database is: in an image build, on a bare machine.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="one of: " + ", ".join(sorted(REGISTRY)))

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            spec = spec_for(options["name"])
        except EncoderError as error:
            raise CommandError(str(error)) from error
        if spec.is_directory:
            self._report(spec, _("is a directory on this machine: nothing to download"))
            return
        self._download(spec)
        self._report(spec, _("downloaded and verified"))

    def _download(self, spec: ModelSpec) -> None:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HTTPError, RevisionResolutionError

        try:
            revision, files = self._files(spec)
            total = sum(size or 0 for size, _sha in files.values())
            self.stdout.write(f"{spec.name}@{revision}: {len(files)} files, {total / 1e6:.0f} MB")
            folder = snapshot_download(
                spec.source,
                revision=revision,
                allow_patterns=sorted(files),
                etag_timeout=TIMEOUT,
                max_workers=4,
            )
        except (HTTPError, RevisionResolutionError, OSError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise CommandError(
                _("Cannot download %(name)s: the model hub did not answer as needed (%(reason)s).")
                % {"name": spec.name, "reason": reason}
            ) from error
        verify(Path(folder), files)

    def _files(self, spec: ModelSpec) -> tuple[str, dict[str, tuple[int | None, str]]]:
        """(revision, {name: (bytes, sha256 or "")}), of the first revision that offers safetensors."""
        from huggingface_hub import HfApi

        api = HfApi()
        files = _listing(api, spec.source, "main")
        if _safetensors(files):
            return "main", files
        for reference in _conversions(api, spec.source):
            files = _listing(api, spec.source, reference)
            if _safetensors(files):
                return reference, files
        raise CommandError(
            _("%(name)s offers no safetensors weights; pickled weights are never loaded.")
            % {"name": spec.name}
        )

    def _report(self, spec: ModelSpec, outcome: str) -> None:
        try:
            space = identify(spec.name)
        except EncoderError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{spec.label}: {outcome}.")
        self.stdout.write(f"revision {space.revision}, {space.dimension}-d, space {space.sha256[:16]}")


def _listing(api: Any, source: str, revision: str) -> dict[str, tuple[int | None, str]]:
    info = api.model_info(source, revision=revision, files_metadata=True, timeout=TIMEOUT)
    return {
        part.rfilename: (part.size, part.lfs.sha256 if part.lfs else "")
        for part in info.siblings or []
        if wanted(part.rfilename)
    }


def _safetensors(files: dict[str, tuple[int | None, str]]) -> bool:
    return WEIGHTS in files or WEIGHTS_INDEX in files


def _conversions(api: Any, source: str) -> list[str]:
    found = api.get_repo_discussions(source, author=CONVERTER, discussion_type="pull_request")
    return [part.git_reference for _i, part in zip(range(10), found, strict=False) if part.git_reference]


def verify(folder: Path, files: dict[str, tuple[int | None, str]]) -> None:
    """Compare every file with what the hub announced; CommandError names the first that differs."""
    for name, (size, sha256) in files.items():
        path = folder / name
        if not path.is_file() or (size is not None and path.stat().st_size != size):
            raise CommandError(_("%(file)s is not whole. Run the command again.") % {"file": path})
        if sha256 and file_sha256(path) != sha256:
            raise CommandError(
                _("%(file)s differs from the hub's checksum: delete it, retry.") % {"file": path}
            )
