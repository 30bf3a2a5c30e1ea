"""The Web API's methods on the fake's world. Each takes decoded arguments and gives Slack's answer or raises."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from tests.fakes.slack import contract
from tests.fakes.slack.contract import Broken, Json
from tests.fakes.slack.world import BOT_ID, BOT_USER, TEAM, Post, Upload, World

SESSION = ("processing", "active", "suspended", "closed")


class Denied(Exception):
    """An answer with an error that is no violation: the bot could not have known."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


class Methods:
    """Slack's side of the calls."""

    def __init__(self, world: World, changed: Callable[[Post, str], None]) -> None:
        """`changed` hears of every message of the bot: "posted", "changed", "deleted"."""
        self.world, self._changed = world, changed
        self.base = ""
        self.stream_seconds = 300.0
        self.ticket = 1
        self._all: dict[str, Callable[[Json], Json]] = {
            "agents.sessions.setStatus": self._session_status,
            "apps.connections.open": lambda args: {"url": f"{self.base.replace('http', 'ws', 1)}/link?ticket={self.ticket}"},
            "assistant.threads.setStatus": self._thread_status,
            "auth.test": lambda args: {
                "url": "https://cellmate.slack.com/",
                "team": "Cellmate",
                "user": "cellmate",
                "team_id": TEAM,
                "user_id": BOT_USER,
                "bot_id": BOT_ID,
            },
            "chat.appendStream": self._append,
            "chat.delete": self._delete,
            "chat.postEphemeral": self._ephemeral,
            "chat.postMessage": self._post,
            "chat.startStream": self._start,
            "chat.stopStream": self._stop,
            "chat.update": self._update,
            "conversations.replies": self._replies,
            "files.completeUploadExternal": self._complete,
            "files.getUploadURLExternal": self._ticket,
            "files.info": self._info,
            "reactions.add": self._react,
            "reactions.remove": self._unreact,
            "users.info": self._user,
        }
        assert self._all.keys() == contract.METHODS.keys()

    def call(self, name: str, args: Mapping[str, Any]) -> Json:
        """Slack's answer. Raises `Broken` or `Denied`."""
        contract.check_arguments(name, args)
        return {"ok": True, **self._all[name](contract.decoded(args))}

    # --- Messages ---

    def _known(self, channel: str) -> None:
        if channel not in self.world.channels.values():
            raise Broken("channel_not_found", f"there is no channel {channel}")

    def _known_thread(self, args: Json) -> None:
        self._known(args["channel"])
        root = args.get("thread_ts")
        if root and self.world.find(args["channel"], root) is None:
            raise Broken("thread_not_found", f"thread_ts {root} names no message")

    def _content(self, args: Json, longest: int) -> None:
        text, blocks = str(args.get("text") or ""), args.get("blocks")
        if not text and not blocks:
            raise Broken("no_text", "a message has text or blocks")
        if len(text) > longest:
            raise Broken("msg_too_long", f"text has at most {longest:,} characters, not {len(text)}")
        if blocks:
            contract.check_blocks(blocks)
        contract.check_metadata(args.get("metadata"))

    def _new(self, args: Json, **more: Any) -> Post:
        linked = bool(args.get("link_names")) or args.get("parse") == "full"
        post = Post(
            args["channel"],
            self.world.ts(),
            BOT_USER,
            args.get("text") or "",
            args.get("blocks") or [],
            args.get("thread_ts"),
            metadata=args.get("metadata"),
            linked=linked,
            **more,
        )
        self.world.posts.append(post)
        return post

    def _mine(self, args: Json) -> Post:
        post = self.world.find(args["channel"], args["ts"])
        if post is None or post.only_for:
            raise Denied("message_not_found")
        if post.user != BOT_USER:
            raise Broken("cant_update_message", "a bot changes its own messages only")
        return post

    def _post(self, args: Json) -> Json:
        self._known_thread(args)
        self._content(args, contract.TEXT)
        if args.get("unfurl_links") is not False or args.get("unfurl_media") is not False:
            raise Broken("invalid_arguments", "a model's links are never unfurled")
        post = self._new(args)
        self._changed(post, "posted")
        return {"channel": post.channel, "ts": post.ts, "message": self.world.stored(post, metadata=True)}

    def _ephemeral(self, args: Json) -> Json:
        self._known_thread(args)
        self._content(args, contract.TEXT)
        if args["user"] not in self.world.people.values():
            raise Denied("user_not_in_channel")
        return {"message_ts": self._new(args, only_for=args["user"]).ts}

    def _update(self, args: Json) -> Json:
        post = self._mine(args)
        if post.stream == "open":
            raise Broken("streaming_state_conflict", "a message is not edited while it streams")
        self._content(args, contract.UPDATE)
        post.text, post.blocks, post.edited = args.get("text") or "", args.get("blocks") or [], True
        post.metadata = args.get("metadata") or post.metadata
        self._changed(post, "changed")
        return {"channel": post.channel, "ts": post.ts, "text": post.text}

    def _delete(self, args: Json) -> Json:
        post = self._mine(args)
        if post.stream == "open":
            raise Broken("streaming_state_conflict", "a message is not deleted while it streams")
        self.world.posts.remove(post)
        self._changed(post, "deleted")
        return {"channel": post.channel, "ts": post.ts}

    def _replies(self, args: Json) -> Json:
        self._known(args["channel"])
        posts = [post for post in self.world.thread(args["channel"], args["ts"]) if not post.only_for]
        if not posts:
            raise Denied("thread_not_found")
        start, limit = int(args.get("cursor") or 0), int(args.get("limit") or 1000)
        metadata = str(args.get("include_all_metadata")).lower() in ("true", "1")
        page = [self.world.stored(post, metadata=metadata) for post in posts[start : start + limit]]
        more = start + limit < len(posts)
        return {
            "messages": page,
            "has_more": more,
            "response_metadata": {"next_cursor": str(start + limit) if more else ""},
        }

    # --- Streams ---

    def _start(self, args: Json) -> Json:
        self._known_thread(args)
        if not args["channel"].startswith("D"):
            for key in ("recipient_user_id", "recipient_team_id"):
                if not args.get(key):
                    raise Broken(f"missing_{key}", "outside direct messages a stream names its reader")
            if args["recipient_user_id"] == BOT_USER:
                raise Broken("invalid_arguments", "a stream's reader is a person")
            if args["recipient_team_id"] != self.world.team(args["recipient_user_id"]):
                raise Broken("invalid_arguments", "recipient_team_id is the reader's team")
        if args.get("task_display_mode") not in (None, "timeline", "plan", "dense"):
            raise Broken("invalid_arguments", "unknown task_display_mode")
        chunks = self._chunks(args)
        post = self._new(args, stream="open", began=time.monotonic())
        self._feed(post, chunks)
        return {"channel": post.channel, "ts": post.ts}

    def _chunks(self, args: Json) -> list[Json]:
        if args.get("markdown_text") is not None and args.get("chunks"):
            raise Broken("markdown_text_conflict", "markdown_text or chunks, not both")
        if args.get("markdown_text") is not None:
            return [{"type": "markdown_text", "text": args["markdown_text"]}]
        if args.get("chunks"):
            contract.check_chunks(args["chunks"])
        return list(args.get("chunks") or [])

    def _feed(self, post: Post, chunks: list[Json]) -> None:
        weight = sum(len(str(value).encode()) for chunk in chunks for key, value in chunk.items() if key not in ("type", "id"))
        if post.weight + weight > contract.STREAM:
            raise Broken("msg_too_long", f"a streamed message holds {contract.STREAM} bytes")
        post.weight += weight
        post.feed(chunks)

    def _streaming(self, args: Json) -> Post:
        post = self._mine(args)
        if post.stream == "stopped":
            raise Denied("stopped_by_user")
        if post.stream == "open" and time.monotonic() - post.began > self.stream_seconds:
            post.stream = "done"
        if post.stream != "open":
            raise Denied("message_not_in_streaming_state")
        return post

    def _append(self, args: Json) -> Json:
        post, chunks = self._streaming(args), self._chunks(args)
        if not chunks:
            raise Broken("no_text", "an append holds something")
        self._feed(post, chunks)
        return {"channel": post.channel, "ts": post.ts}

    def _stop(self, args: Json) -> Json:
        post, chunks = self._streaming(args), self._chunks(args)
        contract.check_metadata(args.get("metadata"))
        if args.get("blocks"):
            contract.check_blocks(args["blocks"])
        self._feed(post, chunks)
        status = args.get("session_status") or "active"
        if status not in SESSION:
            raise Broken("invalid_arguments", f"unknown session status {status!r}")
        if self.world.busy(post.channel, post.root):
            self.world.statuses[post.channel, post.root].append(f"sessions:{status}")
        post.blocks, post.metadata, post.stream = args.get("blocks") or [], args.get("metadata"), "done"
        self._changed(post, "changed")
        return {"channel": post.channel, "ts": post.ts, "message": self.world.stored(post, metadata=True)}

    # --- Signs ---

    def _session_status(self, args: Json) -> Json:
        if args["status"] not in SESSION:
            raise Broken("invalid_arguments", f"unknown session status {args['status']!r}")
        return self._status(args, "sessions")

    def _thread_status(self, args: Json) -> Json:
        return self._status(args, "threads")

    def _status(self, args: Json, kind: str) -> Json:
        self._known(args["channel_id"])
        if self.world.find(args["channel_id"], args["thread_ts"]) is None:
            raise Broken("thread_not_found", f"thread_ts {args['thread_ts']} names no message")
        self.world.statuses.setdefault((args["channel_id"], args["thread_ts"]), []).append(f"{kind}:{args['status']}")
        return {}

    def _react(self, args: Json) -> Json:
        post = self._message(args)
        if (args["name"], BOT_USER) in post.reactions:
            raise Denied("already_reacted")
        post.reactions.add((args["name"], BOT_USER))
        return {}

    def _unreact(self, args: Json) -> Json:
        post = self._message(args)
        if (args["name"], BOT_USER) not in post.reactions:
            raise Denied("no_reaction")
        post.reactions.remove((args["name"], BOT_USER))
        return {}

    def _message(self, args: Json) -> Post:
        post = self.world.find(args["channel"], args["timestamp"])
        if post is None:
            raise Broken("message_not_found", f"{args['timestamp']} names no message")
        return post

    # --- Files and people ---

    def _ticket(self, args: Json) -> Json:
        size = int(args["length"])
        if size <= 0:
            raise Broken("missing_argument", "Slack takes no empty files")
        if size > 1_000_000_000:
            raise Broken("file_size_too_large", "a file has at most 1 GB")
        if len(args.get("alt_txt") or "") > contract.ALT:
            raise Broken("alt_txt_too_long", f"alt_txt has at most {contract.ALT} characters")
        upload = Upload(f"F{len(self.world.uploads) + 1:08d}", args["filename"], size, alt=args.get("alt_txt") or "")
        self.world.uploads[upload.id] = upload
        return {"file_id": upload.id, "upload_url": f"{self.base}/upload/v1/{upload.id}"}

    def _complete(self, args: Json) -> Json:
        channel, root = args.get("channel_id"), args.get("thread_ts")
        if not channel or not channel.startswith(("C", "D", "G")):
            raise Broken("channel_not_found", "channel_id is a channel's id, also in direct messages")
        self._known(channel)
        parent = self.world.find(channel, root) if root else None
        if root and (parent is None or parent.thread_ts):
            raise Broken("invalid_thread_ts", "files go under the thread's first message, never under a reply")
        files = [self.world.uploads.get(file["id"]) for file in args["files"]]
        uploads = [upload for upload in files if upload is not None]
        if len(uploads) != len(args["files"]) or any(len(upload.content) != upload.size for upload in uploads):
            raise Broken("file_not_found", "every file was uploaded whole before")
        for upload, named in zip(uploads, args["files"], strict=True):
            upload.title = named.get("title") or upload.name
        body = {"channel": channel, "thread_ts": root, "text": args.get("initial_comment") or ""}
        post = self._new(body, files=uploads)
        self._changed(post, "posted")
        return {"files": [self.world.file(upload, self.base) for upload in uploads]}

    def _info(self, args: Json) -> Json:
        upload = self.world.uploads.get(args["file"])
        if upload is None:
            raise Denied("file_not_found")
        return {"file": self.world.file(upload, self.base)}

    def _user(self, args: Json) -> Json:
        name = self.world.name(args["user"])
        if name == args["user"]:
            raise Denied("user_not_found")
        return {"user": {"id": args["user"], "name": name, "real_name": name.title(), "is_bot": False}}
