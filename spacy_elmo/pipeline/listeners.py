"""The part of the `elmo` component that spaCy asks about listeners."""

from typing import Any, Callable, Dict, List, Sequence, Tuple

from spacy.language import Language
from spacy.pipeline import EntityLinker
from spacy.pipeline.legacy.entity_linker import EntityLinker_v1
from spacy.pipeline.tok2vec import Tok2Vec, Tok2VecListener
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats3d

from ..layers.listener import ListenerState, is_listener

READ_PARTS = (EntityLinker, EntityLinker_v1)
"""Components that encode each mention's sentences as a separate doc."""

TWO_COMPONENTS = (
    "Expected one elmo component in a pipeline, found {!r} and {!r}: both would write "
    "doc._.elmo. Give the heads that need another biLM their own: "
    "spacy_elmo.ElmoTok2Vec.v1."
)


class ListenerRegistry:
    """Connects listeners to the component that inherits from this.

    spaCy calls these methods when it links a pipeline, for enabled components only.
    `listener_map` and `find_listeners` have the names and meanings of spaCy's Tok2Vec.
    """

    name: str
    set_tensor: bool
    keep_layers: bool
    compute_layers: Callable[[Sequence[Doc], bool], List[Floats3d]]

    def __init__(self) -> None:
        self._listener_map: Dict[str, List[Model]] = {}
        # All listeners that were ever connected. Their components may be disabled now.
        self._connected: List[Model] = []
        self._later_tok2vecs: List[str] = []
        # Components that read doc.tensor, and the tok2vec component they listen to.
        self._tensor_readers: List[Tuple[str, str]] = []

    @property
    def listener_map(self) -> Dict[str, List[Model]]:
        """The listeners of each later component. When spaCy links the pipeline, it sets
        this to {} and then calls `find_listeners` for each component."""
        return self._listener_map

    @listener_map.setter
    def listener_map(self, value: Dict[str, List[Model]]) -> None:
        self._listener_map = value
        self._later_tok2vecs = []
        self._tensor_readers = []

    @property
    def listeners(self) -> List[Model]:
        return [model for models in self._listener_map.values() for model in models]

    @property
    def listening_components(self) -> List[str]:
        return list(self._listener_map)

    def find_listeners(self, component: Any) -> None:
        """Connect the listeners of a later component whose upstream is this component.

        RAISES: ValueError if it is an elmo component, too.
        """
        if isinstance(component, ListenerRegistry):
            raise ValueError(TWO_COMPONENTS.format(self.name, component.name))
        if isinstance(component, Tok2Vec):
            self._later_tok2vecs.append(component.name)
        model = getattr(component, "model", None)
        if not isinstance(model, Model):
            return
        for node in model.walk():
            if is_listener(node) and node.attrs["upstream"] in ("*", self.name):
                self.add_listener(node, component.name)
                if isinstance(component, READ_PARTS):
                    node.attrs["state"].reads_parts = True
                    node.attrs["state"].dependents = _find_dependents(model, node)
            elif isinstance(node, Tok2VecListener):
                self._tensor_readers.append((component.name, node.upstream_name))

    def add_listener(self, listener: Model, component_name: str) -> None:
        """Connect a listener of another component.

        RAISES: ValueError if this component does not keep the layers on the docs.
        """
        if not self.keep_layers:
            raise ValueError(
                f"{component_name!r} listens to {self.name!r}: expected its setting "
                "keep_layers = true, found false. Listeners read the layers from the "
                "Doc."
            )
        known = self._listener_map.setdefault(component_name, [])
        for models in (known, self._connected):
            if listener not in models:
                models.append(listener)
        listener.attrs["state"].compute = self.compute_layers

    def remove_listener(self, listener: Model, component_name: str) -> bool:
        """Disconnect a listener.

        RETURNS (bool): Whether it was connected.
        """
        known = self._listener_map.get(component_name, [])
        if listener not in known:
            return False
        # A new list, because spaCy removes listeners while iterating over the old one.
        remaining = [other for other in known if other is not listener]
        if remaining:
            self._listener_map[component_name] = remaining
        else:
            del self._listener_map[component_name]
        self._connected = [m for m in self._connected if m is not listener]
        listener.attrs["state"] = ListenerState()
        return True

    def _updated_listeners(self) -> List[Model]:
        """Get the listeners that receive training batches: those in the map, and those
        of components that were disabled when spaCy created it, as `spacy train` does
        with sourced components while it initializes the others."""
        linked = self.listeners
        return [
            listener
            for listener in self._connected
            if listener in linked
            or listener.attrs["state"].compute == self.compute_layers
        ]

    def _check_upstreams(self, nlp: Language) -> None:
        """Check that components which listen to a tok2vec component have one.

        RAISES: ValueError if the pipeline has none: a common mistake when replacing
            tok2vec with elmo in a config.
        """
        tok2vecs = [name for name, each in nlp.components if isinstance(each, Tok2Vec)]
        for reader, upstream in self._tensor_readers:
            if upstream not in tok2vecs and not (upstream == "*" and tok2vecs):
                raise ValueError(
                    f"{reader!r} listens to a tok2vec component: expected "
                    f"{'one' if upstream == '*' else repr(upstream)} in the pipeline, "
                    f"found {', '.join(nlp.component_names)}. If {reader!r} should use "
                    "ELMo, replace spacy.Tok2VecListener.v1 with "
                    "spacy_elmo.ElmoListener.v1 and remove its width."
                )

    def _check_tensor(self) -> None:
        """Check that no later component would mistake our doc.tensor for the output of
        a tok2vec component.

        Only called when docs arrive: before, the pipeline may be unfinished, or a
        tok2vec component temporarily disabled.

        RAISES: ValueError if a component listens to a tok2vec component, but none runs
            between the two.
        """
        if not self.set_tensor:
            return
        tok2vecs = self._later_tok2vecs
        for reader, upstream in self._tensor_readers:
            if upstream not in tok2vecs and not (upstream == "*" and tok2vecs):
                raise ValueError(
                    f"{reader!r} listens to a tok2vec component through doc.tensor: "
                    f"expected that component, enabled, between {self.name!r} and "
                    f"{reader!r}, found none there, and {self.name!r} would overwrite "
                    f"what an earlier one writes. If {reader!r} should use ELMo, "
                    "replace spacy.Tok2VecListener.v1 with spacy_elmo.ElmoListener.v1. "
                    f"If not, put {self.name!r} before the tok2vec component or after "
                    f"{reader!r}, enable what is disabled, or give {self.name!r} the "
                    "setting set_tensor = false."
                )


def _find_dependents(model: Model, listener: Model) -> List[Model]:
    """Find the layers of an entity linker that have its tok2vec's width, if it is not
    set in the config: the residual layer, which otherwise gets the width of the KB."""
    if listener.has_dim("nO") or model.maybe_get_ref("tok2vec") is not listener:
        return []
    residual = (node for node in model.walk() if node.name.startswith("residual"))
    return [layer for node in residual for layer in node.walk()]
