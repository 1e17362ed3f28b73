# SPDX-License-Identifier: Apache-2.0
"""The encoders that a model was started from: their Hub ids, languages and licences."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from trainer_ext.errors import InputError


@dataclass(frozen=True)
class Encoder:
    """
    An encoder as the card names it.

    Attributes:
        origin (`str`): Hub id, or a few words where it is not on the Hub.
        on_hub (`bool`): Whether `origin` is a Hub id.
        known (`bool`): Whether `encoders.yaml` has an entry for it.
        license (`str`, *optional*): Licence identifier of the Hub; `None` where the authors state none.
        name (`str`, *optional*): The licence's name, where the identifier is `"other"`.
        link (`str`, *optional*): The licence's text, where the model card does not have it.
        share_alike (`bool`): Whether models built on it must carry the same licence.
        languages (`tuple[str]`): Codes of its languages; empty where there are many, or unknown.
    """

    origin: str
    on_hub: bool = True
    known: bool = True
    license: str | None = None
    name: str | None = None
    link: str | None = None
    share_alike: bool = False
    languages: tuple[str, ...] = ()

    def forbids(self, license: str) -> bool:
        """Whether a model that is built on this encoder may not be published under `license`."""
        if self.share_alike:
            # A work built on a cc-by-sa-3.0 work may be published under a later version of that licence.
            return license != self.license and license != (self.license or "").replace("3.0", "4.0")
        return "-nc" in (self.license or "") and "-nc" not in license

    @property
    def license_text(self) -> str:
        """The licence in a table's cell."""
        if not self.on_hub and not self.known:
            return "–" if self.origin == "from scratch" else "unknown"
        if not self.known:
            return "not checked: see its model card"
        text = self.name or self.license or "none stated by its authors"
        return f"[{text}]({self.link})" if self.link else text


def _read_known() -> dict[str, Encoder]:
    entries = yaml.safe_load((Path(__file__).parent / "encoders.yaml").read_text(encoding="utf-8"))
    known = {}
    for origin, entry in entries.items():
        former = entry.pop("formerly", None)
        known[origin] = Encoder(origin, **{**entry, "languages": tuple(entry.get("languages", ()))})
        if former:
            known[former] = known[origin]
    return known


_KNOWN = _read_known()


def find_encoder(origin: str) -> Encoder:
    """
    Look an encoder up.

    Args:
        origin (`str`): Hub id, or a few words: `from scratch`, or a file's name. Only a Hub id has a slash.
    """
    return _KNOWN.get(origin) or Encoder(origin, on_hub="/" in origin, known=False)


def check_licenses(encoders: Iterable[Encoder], license: str) -> None:
    """
    Refuse a licence that an encoder forbids; warn of encoders whose licence is not known.

    Args:
        encoders (`Iterable[Encoder]`): The encoders that the model was started from.
        license (`str`): The licence that the model is to be published under, an identifier of the Hub.

    Raises:
        `InputError`: For the first encoder whose licence asks for another one.
    """
    for encoder in encoders:
        if encoder.forbids(license):
            terms = encoder.link or f"https://huggingface.co/{encoder.origin}"
            asked = f"{encoder.license!r}" if encoder.share_alike else "a non-commercial one"
            raise InputError(
                f"`license` must be {asked}, got {license!r}: the licence of {encoder.origin} asks it of models "
                f"built on it. Read {terms}, and choose it or train without this encoder."
            )
        if encoder.on_hub and not encoder.license:
            stated = "its authors state no licence" if encoder.known else "this project does not know its licence"
            warnings.warn(f"{encoder.origin}: {stated}; make sure that you may publish.", stacklevel=3)
