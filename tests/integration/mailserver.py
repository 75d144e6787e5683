"""A real mail server that keeps what it is sent: for tests of mails."""

import contextlib
import email
import email.policy
import ssl

import aiosmtpd.controller
import aiosmtpd.smtp

from harness import free_port


class Mailbox:
    """Keeps what it is sent; `refuse` is an answer to recipients, to those of `refused` alone if there are any."""

    def __init__(self):
        self.mails = []
        self.refuse = None
        self.refused = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        if self.refuse and (not self.refused or address in self.refused):
            return self.refuse
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append((envelope, message, session.ssl is not None, session.authenticated))
        return "250 OK"


@contextlib.contextmanager
def mail_server(certificates, box, users=None, tls=True):
    """Its address; with `tls` it insists on STARTTLS, else it offers none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates + "/server.crt", certificates + "/server.key")

    def authenticate(server, session, envelope, mechanism, data):
        return aiosmtpd.smtp.AuthResult(success=(data.login.decode(), data.password.decode()) in (users or []))

    controller = aiosmtpd.controller.Controller(
        box, hostname="127.0.0.1", port=free_port(), tls_context=context if tls else None, require_starttls=tls,
        auth_required=bool(users), authenticator=authenticate,
    )
    controller.start()
    try:
        yield "127.0.0.1:%d" % controller.port
    finally:
        controller.stop()
