"""Who may change things on this machine: train, delete, rename, import.

On a server that listens on this machine alone, everybody who reaches it. On any other, nobody, unless the environment variable
`CHANGES_VARIABLE` lists the e-mail addresses of those who may; they sign in with `st.login` (see the README). Where the
variable is set, it holds on a loopback address too: there a proxy may stand before the server.
"""

from __future__ import annotations

import ipaddress
import os

import streamlit as st

CHANGES_VARIABLE = "LATENT_EXPLORER_ALLOW_CHANGES"


def may_change() -> tuple[bool, str]:
    """Whether the visitor may change things here; if not, why, as a sentence."""
    listed = os.environ.get(CHANGES_VARIABLE)
    if listed is None:
        address = st.get_option("server.address")
        if is_loopback(address):
            return True, ""
        return False, (
            f"This server can be reached from other machines (it listens on {address or 'all addresses'}), so nothing can be "
            f"changed from here: no training, no import, no deleting. {CHANGES_VARIABLE} switches it on; the README says how."
        )
    if not has_sign_in():
        return False, f"{CHANGES_VARIABLE} is set, but no sign-in is configured: the README says how, under Safety."
    if not st.user.is_logged_in:
        return False, "Sign in to train, import, rename or delete."
    return _may(listed, st.user.get("email"), st.user.get("email_verified"))


def _may(listed: str, email: object, verified: object) -> tuple[bool, str]:
    allowed = {address.strip().lower() for address in listed.split(",") if address.strip()}
    if not isinstance(email, str) or email.strip().lower() not in allowed:
        return False, f"The account you signed in with may look, but not change things: {CHANGES_VARIABLE} doesn't list it."
    if verified is False:
        return False, "The e-mail address of your account isn't verified, so it proves nothing: verify it, then sign in again."
    return True, ""


def is_loopback(address: object) -> bool:
    """Whether a server that listens there is reached from its own machine alone. No address stands for all of them."""
    if not isinstance(address, str):
        return False
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def has_sign_in() -> bool:
    """Whether an identity provider is configured (``[auth]`` in ``.streamlit/secrets.toml``)."""
    try:
        return "auth" in st.secrets
    except FileNotFoundError:
        return False


def changes_allowed() -> bool:
    """`may_change`, with the reason and a sign-in button on the page where the answer is no."""
    allowed, reason = may_change()
    if allowed:
        return True
    st.info(reason, icon=":material/lock:")
    if has_sign_in() and not st.user.is_logged_in:
        st.button("Sign in", on_click=st.login, icon=":material/login:")
    return False
