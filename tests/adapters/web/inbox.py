"""An inbox that takes everything."""

import asyncio

from bot.types import Action, Card, Question, ThreadRef


class TakesAll:
    def __init__(self) -> None:
        self.taken: asyncio.Queue[Question] = asyncio.Queue()

    async def accept(self, question: Question) -> bool:
        await self.taken.put(question)
        return True

    async def amend(self, question: Question) -> Card | None:
        return None

    async def act(self, action: Action) -> Card | None:
        return None

    async def engaged(self, thread: ThreadRef) -> bool:
        return True

    async def locate(self, handle: str) -> tuple[str, ThreadRef] | None:
        return None
