"""The items of the field's reporting checklists, from checklists.yaml, which names the publications."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict
from ruamel.yaml import YAML


class Checklist(BaseModel):
    """A published checklist: its topics by the number of the item, such as '12a'."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    name: str
    source: str
    items: dict[str, str]


class Checklists(BaseModel):
    """All that a model card is compared with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    claim: Checklist
    tripod: Checklist
    stard: Checklist


def read_checklists(path: Path) -> Checklists:
    """Read and check the file.

    Raises:
        pydantic.ValidationError: a checklist is missing, or has another form.

    """
    return Checklists.model_validate(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")))


_READ = read_checklists(Path(__file__).with_name("checklists.yaml"))
CLAIM, TRIPOD, STARD = _READ.claim.name, _READ.tripod.name, _READ.stard.name
CHECKLISTS = {checklist.name: checklist.items for checklist in (_READ.claim, _READ.tripod, _READ.stard)}
