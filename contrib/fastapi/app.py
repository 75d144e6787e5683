"""
An application that shows the health and performance of its Howdah next to its own.

    HOWDAH_URL=http://127.0.0.1:9632 HOWDAH_TOKEN=… uvicorn app:app

/health answers 503 when either of the two is not well; /performance has the application's own request times and the
host's pools and costliest statements. Debian: python3-fastapi, uvicorn, python3-httpx.
"""

import asyncio
import os
import time

import httpx
from fastapi import FastAPI, Request, Response

HOWDAH_URL = os.environ.get("HOWDAH_URL", "http://127.0.0.1:9632")
HOWDAH_TOKEN = os.environ.get("HOWDAH_TOKEN")
TIMEOUT = 2.0

app = FastAPI(title="An application behind Howdah")
own = {"requests": 0, "errors": 0, "seconds": 0.0, "since": time.time()}


@app.on_event("startup")
async def open_client():
    headers = {"Authorization": "Bearer " + HOWDAH_TOKEN} if HOWDAH_TOKEN else {}
    app.state.howdah = httpx.AsyncClient(base_url=HOWDAH_URL, headers=headers, timeout=TIMEOUT)


@app.on_event("shutdown")
async def close_client():
    await app.state.howdah.aclose()


@app.middleware("http")
async def measure(request: Request, call_next):
    """What this application does itself."""
    began = time.perf_counter()
    own["requests"] += 1
    try:
        response = await call_next(request)
    except Exception:
        own["errors"] += 1
        raise
    own["errors"] += response.status_code >= 500
    own["seconds"] += time.perf_counter() - began
    return response


async def ask(path, **params):
    """The host's answer, or why there is none: (status, JSON)."""
    try:
        answer = await app.state.howdah.get(path, params=params)
        return answer.status_code, answer.json()
    except (httpx.HTTPError, ValueError) as error:
        return 502, {"detail": f"{type(error).__name__}: {error}"}


@app.get("/health")
async def health(response: Response):
    status, howdah = await ask("/health")
    well = status == 200
    if not well:
        response.status_code = 503
    return {
        "status": "ok" if well else "degraded",
        "application": {"status": "ok", "up_seconds": round(time.time() - own["since"], 3)},
        "howdah": howdah,
    }


async def rows(path, *args):
    status, answer = await ask("/api/v1/" + path, arg=list(args))
    return answer["rows"] if status == 200 else {"error": answer.get("detail", status)}


@app.get("/performance")
async def performance():
    pools, statements = await asyncio.gather(rows("pools"), rows("statements", "TOP", "10"))
    mean = own["seconds"] / own["requests"] if own["requests"] else 0.0
    return {
        "application": {"requests": own["requests"], "errors": own["errors"], "mean_seconds": mean},
        "howdah": {"pools": pools, "statements": statements},
    }
