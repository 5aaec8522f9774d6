"""An SMTP peer for tests: aiosmtpd; prints its port, then one JSON line for each mail it took.

usage: smtp_peer.py none|starttls|tls CERT KEY
"""
import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 no such user"
        if address.startswith("later@"):
            return "451 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        parts = {p.get_content_type(): p.get_content() for p in mail.walk() if not p.is_multipart()}
        print(json.dumps({
            "from": envelope.mail_from, "to": envelope.rcpt_tos, "subject": mail["subject"], "id": mail["message-id"],
            "key": mail["x-tidewatch-key"], "text": parts.get("text/plain"), "html": parts.get("text/html"),
            "tls": session.ssl is not None or sys.argv[1] == "tls", "login": bool(session.authenticated),
        }), flush=True)
        return "250 OK taken"


def login(server, session, envelope, mechanism, data):
    # handled=False: the server says 535 itself
    return AuthResult(success=data.login == b"watch" and data.password == b"secret word", handled=False)


async def main():
    mode, cert, key = sys.argv[1:4]
    context = None
    if mode != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
    starttls = mode == "starttls"

    def session():
        return SMTP(Handler(), hostname="peer", tls_context=context if starttls else None, require_starttls=starttls,
                    authenticator=login, auth_required=mode != "none", auth_require_tls=starttls)

    server = await asyncio.get_running_loop().create_server(
        session, "127.0.0.1", 0, ssl=context if mode == "tls" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
