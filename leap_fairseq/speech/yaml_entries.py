"""The entries of a YAML that is one list, one after the other, their values as texts.

yaml.load would first build the whole document of nodes, several times the size of what comes of it: for the list of a
large corpus more than a gigabyte.
"""

import sys
from typing import Any, Dict, Iterator

import yaml

# BaseLoader keeps every scalar a string; libyaml's twin reads 230,000 segments in seconds instead of minutes.
_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def entries_of(text: str) -> Iterator[Any]:
    """Reads the list of a document; an empty document has none.

    Yields:
        Texts, lists and mappings, as yaml.load gives them with BaseLoader.

    Raises:
        ValueError: It is no list.
        yaml.YAMLError: It is no YAML, or has more than one document.
    """
    loader = _Loader(text)
    try:
        loader.get_event()  # the beginning of the stream
        if loader.check_event(yaml.StreamEndEvent):
            return
        loader.get_event()  # that of the document
        first = loader.get_event()
        if isinstance(first, yaml.ScalarEvent) and not first.value:
            return
        if not isinstance(first, yaml.SequenceStartEvent):
            raise ValueError(f"it is a {type(first).__name__.removesuffix('Event').removesuffix('Start').lower()}")
        anchors: Dict[str, Any] = {}
        while not loader.check_event(yaml.SequenceEndEvent):
            yield _value(loader, anchors)
        loader.get_event()
        loader.get_event()
        if not loader.check_event(yaml.StreamEndEvent):
            raise yaml.YAMLError("it has more than one document")
    finally:
        loader.dispose()


def _value(loader: Any, anchors: Dict[str, Any]) -> Any:
    event = loader.get_event()
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            raise yaml.YAMLError(f"the alias {event.anchor!r} stands before what it names")
        return anchors[event.anchor]
    value: Any = event.value if isinstance(event, yaml.ScalarEvent) else []
    if isinstance(event, yaml.MappingStartEvent):
        value = {}
        while not loader.check_event(yaml.MappingEndEvent):
            key = _value(loader, anchors)
            if not isinstance(key, str):
                raise yaml.YAMLError(f"a {type(key).__name__} is a key of a mapping")
            # The same few names in every entry.
            value[sys.intern(key)] = _value(loader, anchors)
        loader.get_event()
    elif isinstance(event, yaml.SequenceStartEvent):
        while not loader.check_event(yaml.SequenceEndEvent):
            value.append(_value(loader, anchors))
        loader.get_event()
    if event.anchor is not None:
        anchors[event.anchor] = value
    return value
