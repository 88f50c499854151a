"""Which components listen to an elmo component, and which to doc.tensor behind it."""

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from spacy.pipeline import EntityLinker
from spacy.pipeline.legacy.entity_linker import EntityLinker_v1
from spacy.pipeline.tok2vec import Tok2Vec, Tok2VecListener
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats3d

from ..layers.listener import ListenerState, is_listener

_READ_PARTS = (EntityLinker, EntityLinker_v1)
"""They encode each mention's sentences as a doc of their own."""

Compute = Callable[[Sequence[Doc], bool], List[Floats3d]]


class Listening:
    """What spaCy's linking of a pipeline tells an elmo component. It knows the enabled
    components alone.

    map: the listeners of each later component.
    tied: all that were ever in it, those of components that are disabled now too.
    later_tok2vecs: names of tok2vec components after this one.
    """

    def __init__(self) -> None:
        self.map: Dict[str, List[Model]] = {}
        self.tied: List[Model] = []
        self.later_tok2vecs: List[str] = []
        self._tensor_readers: List[Tuple[str, str]] = []

    def start(self, listeners: Dict[str, List[Model]]) -> None:
        """spaCy links the pipeline anew."""
        self.map = listeners
        self.later_tok2vecs = []
        self._tensor_readers = []

    def find(self, name: str, component: Any) -> List[Model]:
        """Note what a later component reads. RETURNS: its listeners to the component of
        this name, or to any."""
        if isinstance(component, Tok2Vec):
            self.later_tok2vecs.append(component.name)
        model = getattr(component, "model", None)
        found: List[Model] = []
        for node in model.walk() if isinstance(model, Model) else ():
            if is_listener(node) and node.attrs["upstream"] in ("*", name):
                node.attrs["state"].reads_parts = isinstance(component, _READ_PARTS)
                found.append(node)
            elif isinstance(node, Tok2VecListener):
                self._tensor_readers.append((component.name, node.upstream_name))
        return found

    def add(self, listener: Model, component_name: str, compute: Compute) -> None:
        for known in (self.map.setdefault(component_name, []), self.tied):
            if listener not in known:
                known.append(listener)
        state: ListenerState = listener.attrs["state"]
        state.compute = compute

    def remove(self, listener: Model, component_name: str) -> bool:
        """RETURNS: whether it was one of this component's."""
        known = self.map.get(component_name, [])
        if listener not in known:
            return False
        # A new list: spaCy removes listeners while it goes through the old one.
        left = [other for other in known if other is not listener]
        if left:
            self.map[component_name] = left
        else:
            del self.map[component_name]
        listener.attrs["state"] = ListenerState()
        self.tied = [other for other in self.tied if other is not listener]
        return True

    def all_listeners(self, compute: Compute) -> List[Model]:
        """Those of the map, and those of components that were disabled when spaCy made
        it, as are sourced ones while `spacy train` initialises the others.

        compute: of the component that they are still tied to.
        """
        known = [listener for name in self.map for listener in self.map[name]]
        return [
            listener
            for listener in self.tied
            if listener in known or listener.attrs["state"].compute == compute
        ]

    def misled(self) -> Optional[str]:
        """The first component that would take this one's doc.tensor for that of a
        tok2vec component: none that it listens to runs between the two."""
        later = self.later_tok2vecs
        for name, upstream in self._tensor_readers:
            if upstream not in later and not (upstream == "*" and later):
                return name
        return None
