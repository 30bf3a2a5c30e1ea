"""The model's part of a check-up: one tiny request, as a question would make it."""

import asyncio
from urllib.parse import urlsplit

import openai
from openai.types.chat import ChatCompletionUserMessageParam

from bot.types import Finding

_LIST = 2.0
"""Seconds in which a server lists its models."""
_AGAIN = "Wait a minute, then type `cellmate doctor` again"


async def check(*, api_key: str, base_url: str | None, model: str, seconds: float = 5.0) -> Finding:
    """Whether the server is reached, takes the key and knows the model. Costs a few tokens.

    `seconds`: for the first piece of the answer; a server that must load a model first takes longer, which is no failure.

    A list of models proves less: some servers give it to anybody, some have none.
    """
    client = await asyncio.to_thread(
        lambda: openai.AsyncOpenAI(api_key=api_key or "none", base_url=base_url, max_retries=0, timeout=openai.Timeout(seconds))
    )
    async with client:
        where = urlsplit(str(client.base_url))
        server = f"{where.hostname}:{where.port}" if where.port else f"{where.hostname}"
        try:
            await _first_piece(client, model, seconds)
        except (openai.APITimeoutError, TimeoutError):
            return await _slow(client, model, server, seconds)
        except openai.APIStatusError as problem:
            return await _refused(client, model, server, problem)
        except (openai.APIError, ValueError) as problem:
            cause = problem.__cause__ or problem
            said = f"{server} cannot be reached ({str(cause) or type(cause).__name__})"
            return Finding("model", "fail", said, "Start the model's server, or set OPENAI_BASE_URL to where it is")
    return Finding("model", "ok", f"{model} answers at {server}")


async def _first_piece(client: openai.AsyncOpenAI, model: str, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        question: ChatCompletionUserMessageParam = {"role": "user", "content": "Answer with the word: yes"}
        async with await client.chat.completions.create(model=model, messages=[question], stream=True) as chunks:
            async for _ in chunks:
                return


async def _slow(client: openai.AsyncOpenAI, model: str, server: str, seconds: float) -> Finding:
    if await _names(client) is None:
        said = f"{server} does not answer within {seconds:g} s"
        return Finding("model", "fail", said, "Check that the model's server runs, and OPENAI_BASE_URL")
    said = f"{server} is there, but {model} said nothing within {seconds:g} s: it may still be loading"
    return Finding("model", "warn", said, _AGAIN)


async def _refused(client: openai.AsyncOpenAI, model: str, server: str, problem: openai.APIStatusError) -> Finding:
    status = problem.status_code
    if status == 401:
        return Finding(
            "model", "fail", f"{server} does not accept the key", "export OPENAI_API_KEY=... (one that is valid there)"
        )
    if status == 403:
        said = f"{server} does not let this key use {model}"
        return Finding("model", "fail", said, "Change OPENAI_API_KEY, or CELLMATE_MODEL_NAME")
    if problem.code == "insufficient_quota":
        said = f"{server} says that the account's quota is used up"
        return Finding("model", "fail", said, "Check the plan and billing of the account behind OPENAI_API_KEY")
    if status in (408, 409, 425, 429) or status >= 500:
        return Finding("model", "warn", f"{server} is busy or has a problem of its own ({status})", _AGAIN)
    known = await _names(client) or []
    if known and model not in known:
        said = f"{server} knows no model {model}; it has {', '.join(known[:5])}{' and more' if len(known) > 5 else ''}"
        return Finding("model", "fail", said, f"export CELLMATE_MODEL_NAME={known[0]}")
    if status == 404:
        said = f"{server} knows no model {model}, or is no model's server at that path"
        return Finding(
            "model", "fail", said, "Set OPENAI_BASE_URL (it often ends in /v1) and CELLMATE_MODEL_NAME to what is there"
        )
    return Finding("model", "fail", f"{server} refuses the request ({status})", "Read the log of the model's server")


async def _names(client: openai.AsyncOpenAI) -> list[str] | None:
    """The models the server lists; empty where it lists none, None where it does not answer."""
    try:
        async with asyncio.timeout(_LIST):
            return [model.id for model in (await client.models.list()).data]
    except (openai.APIConnectionError, TimeoutError):
        return None
    except (openai.APIError, ValueError, AttributeError, TypeError):
        return []
