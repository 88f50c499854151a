"""HTTP service for ELMo vectors.

The environment variable PIPELINE names a trained pipeline. Without it, the service uses
the English weights that ship with spacy-elmo. PORT is the port, 8000 by default.
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, AsyncIterator, Dict, List

import spacy
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from spacy.language import Language
from spacy.tokens import Doc

MAX_TEXTS = 64
MAX_CHARACTERS = 20_000


class Query(BaseModel):
    """Body of a request."""

    texts: Annotated[
        List[Annotated[str, Field(max_length=MAX_CHARACTERS)]],
        Field(min_length=1, max_length=MAX_TEXTS),
    ]


class Annotation(BaseModel):
    """What the service says about one text.

    n_tokens (int): Number of tokens.
    vector (List[float]): Mean of the tokens' vectors.
    entities (List[Dict[str, str]]): Text and label of each entity, if the pipeline has
        a component that finds them.
    """

    n_tokens: int
    vector: List[float]
    entities: List[Dict[str, str]]


def annotate(doc: Doc) -> Annotation:
    """Copy everything that is needed from a doc, which ends with its memory zone."""
    return Annotation(
        n_tokens=len(doc),
        vector=doc.vector.tolist(),
        entities=[{"text": ent.text, "label": ent.label_} for ent in doc.ents],
    )


@dataclass
class Job:
    """Texts of one client, and the future that receives their annotations."""

    texts: List[str]
    answer: "asyncio.Future[List[Annotation]]"


class Batcher:
    """Runs the texts of all requests that arrived during the last batch through the
    pipeline together, because larger batches are faster. A single request does not
    wait.

    The pipeline runs in one thread, which uses all cores: with a pool of threads, each
    would keep its own share of freed memory. Each batch has a memory zone of its own,
    so that the vocab does not grow with new words.

    nlp (Language): The pipeline.
    """

    def __init__(self, nlp: Language) -> None:
        self.nlp = nlp
        self.jobs: asyncio.Queue[Job] = asyncio.Queue()
        self.thread = ThreadPoolExecutor(max_workers=1)

    async def annotate(self, texts: List[str]) -> List[Annotation]:
        """Annotate the texts of one request, in order."""
        answer = asyncio.get_running_loop().create_future()
        await self.jobs.put(Job(texts, answer))
        return await answer

    async def run(self) -> None:
        """Process batches until cancelled."""
        while True:
            batch = [await self.jobs.get()]
            n_texts = len(batch[0].texts)
            while n_texts < MAX_TEXTS and not self.jobs.empty():
                batch.append(self.jobs.get_nowait())
                n_texts += len(batch[-1].texts)
            await self._process([item for item in batch if not item.answer.cancelled()])

    async def _process(self, batch: List[Job]) -> None:
        texts = [text for job in batch for text in job.texts]
        try:
            loop = asyncio.get_running_loop()
            results = await loop.run_in_executor(self.thread, self._annotate, texts)
        except Exception as error:
            for job in batch:
                if not job.answer.done():
                    job.answer.set_exception(error)
            return
        annotations = iter(results)
        for job in batch:
            part = [next(annotations) for _ in job.texts]
            if not job.answer.done():
                job.answer.set_result(part)

    def _annotate(self, texts: List[str]) -> List[Annotation]:
        with self.nlp.memory_zone():
            return [annotate(doc) for doc in self.nlp.pipe(texts)]


def load_pipeline() -> Language:
    """Load the pipeline named by PIPELINE, or create one with the shipped weights."""
    path = os.environ.get("PIPELINE")
    if path:
        return spacy.load(path)
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.add_pipe("elmo", config={"model": {"precision": "auto"}})
    return nlp


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.batcher = Batcher(load_pipeline())
    task = asyncio.create_task(app.state.batcher.run())
    yield
    task.cancel()


app = FastAPI(title="ELMo vectors", lifespan=lifespan)


@app.exception_handler(RequestValidationError)
async def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
    """Report what is wrong with a request, but not its texts: FastAPI's default
    response repeats them, and fails on characters that UTF-8 cannot encode."""
    fields = ("type", "loc", "msg")
    details = [{key: item[key] for key in fields} for item in error.errors()]
    return JSONResponse({"detail": details}, status_code=422)


@app.post("/annotate")
async def post_annotate(query: Query) -> List[Annotation]:
    """Return the vector and the entities of each text."""
    annotations: List[Annotation] = await app.state.batcher.annotate(query.texts)
    return annotations


@app.get("/health")
async def get_health() -> Dict[str, List[str]]:
    """Say which components run, once the pipeline is loaded."""
    return {"pipeline": app.state.batcher.nlp.pipe_names}


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8000"))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
