"""How the values of settings are read and checked.

Each reader gets Scrapy's settings, the name of one and its default, and returns the
value as it is used.

:raises SettingsError: from all of them: the value cannot be used.
"""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrapy_bgfetch.exceptions import SettingsError
from scrapy_bgfetch.model import WithoutValidator
from scrapy_bgfetch.rules.integrity import check_algorithm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scrapy.settings import BaseSettings


def refuse(name: str, value: object, wanted: str) -> SettingsError:
    return SettingsError(
        f"the setting {name} = {value!r} cannot be used: it must be {wanted}."
    )


def whole(
    minimum: int, maximum: int | None = None
) -> Callable[[BaseSettings, str, Any], int]:
    def read(settings: BaseSettings, name: str, default: int) -> int:
        value = settings.get(name, default)
        limits = f"{minimum} or more" if maximum is None else f"{minimum} to {maximum}"
        wanted = f"a whole number, {limits}"
        if isinstance(value, bool) or (isinstance(value, float) and value % 1):
            raise refuse(name, value, wanted)
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise refuse(name, value, wanted) from None
        if number < minimum or (maximum is not None and number > maximum):
            raise refuse(name, value, wanted)
        return number

    return read


def seconds(settings: BaseSettings, name: str, default: float) -> float:
    value = settings.get(name, default)
    wanted = "a number of seconds greater than 0"
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise refuse(name, value, wanted) from None
    if isinstance(value, bool) or not 0 < number < float("inf"):
        raise refuse(name, value, wanted)
    return number


def flag(settings: BaseSettings, name: str, default: bool) -> bool:
    try:
        return settings.getbool(name, default)
    except ValueError:
        raise refuse(name, settings.get(name), "True or False") from None


def choice(*values: str) -> Callable[[BaseSettings, str, Any], str]:
    def read(settings: BaseSettings, name: str, default: str) -> str:
        value = settings.get(name, default)
        if value not in values:
            raise refuse(name, value, " or ".join(f'"{one}"' for one in values))
        return str(value)

    return read


def without_validator(
    settings: BaseSettings, name: str, default: str
) -> WithoutValidator:
    return WithoutValidator(choice(*WithoutValidator)(settings, name, default))


def algorithm(settings: BaseSettings, name: str, default: None) -> str | None:
    value = settings.get(name, default)
    if not value:
        return None
    try:
        return check_algorithm(value)
    except ValueError as error:
        raise SettingsError(
            f"the setting {name} = {value!r} cannot be used: {error}"
        ) from None


def path(settings: BaseSettings, name: str, default: None) -> Path | None:
    value = settings.get(name, default)
    if not value:
        return None
    try:
        return Path(value)
    except TypeError:
        raise refuse(name, value, "the path of a folder") from None


def plugins(settings: BaseSettings, name: str, default: tuple[Any, ...]) -> Any:
    value = settings.get(name, default)
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple)):
        raise refuse(name, value, "a list of import paths or objects")
    return tuple(value)


def names(settings: BaseSettings, name: str, default: tuple[str, ...]) -> Any:
    names = plugins(settings, name, default)
    if not all(isinstance(entry, str) for entry in names):
        raise refuse(name, settings.get(name), "a list of plug-in names")
    return frozenset(names)


def networks(settings: BaseSettings, name: str, default: tuple[str, ...]) -> Any:
    entries = plugins(settings, name, default)
    try:
        return tuple(ip_network(str(entry)) for entry in entries)
    except ValueError as error:
        wanted = f"a list of IP addresses and networks ({error})"
        raise refuse(name, settings.get(name), wanted) from None


def handlers(settings: BaseSettings, name: str, default: Mapping[str, Any]) -> Any:
    base = settings.getdict("DOWNLOAD_HANDLERS_BASE")
    try:
        return {**base, **default, **settings.getdict(name)}
    except (TypeError, ValueError):
        wanted = "a dict from URL schemes to download handlers"
        raise refuse(name, settings.get(name), wanted) from None
