"""Hello World as a FastAPI app, for uvicorn alone, under gunicorn and under Paceline."""

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

app = FastAPI()


@app.get("/", response_class=PlainTextResponse)
async def hello():
    return "Hello World!\n"
