"""Other ways to sign in, and who used a device

Revision: 2026_11_22_signing_in, after 2026_11_22_wider_walls
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_signing_in"
down_revision = "2026_11_22_wider_walls"
branch_labels = None
depends_on = None

_TEXT = sa.Text(collation="C")
_TEXTS = postgresql.ARRAY(_TEXT)
_TIME = postgresql.TIMESTAMP(timezone=True)
_NOW = sa.text("clock_timestamp()")
_NONE = sa.text("'{}'")
_OF_ACCOUNT = ("provider", "issuer", "subject")
_OF_SESSION = ("provider", "provider_session")


def upgrade() -> None:
    op.add_column("stored_object", sa.Column("user_name", _TEXT, server_default="", nullable=False))
    for name in _OF_ACCOUNT:
        op.add_column("account", sa.Column(name, _TEXT, server_default="", nullable=False))
    op.add_column("account", sa.Column("set_up_digest", sa.LargeBinary(), nullable=True))
    op.add_column("account", sa.Column("set_up_expires_at", _TIME, nullable=True))
    op.add_column("account", sa.Column("public_keys", _TEXTS, server_default=_NONE, nullable=False))
    op.create_index(
        op.f("ix_account_issuer_subject"),
        "account",
        ["issuer", "subject"],
        unique=True,
        postgresql_where=sa.text("subject <> ''"),
    )
    op.create_index(
        op.f("ix_account_set_up_digest"),
        "account",
        ["set_up_digest"],
        unique=True,
        postgresql_where=sa.text("set_up_digest IS NOT NULL"),
    )
    for name in _OF_SESSION:
        op.add_column("account_session", sa.Column(name, _TEXT, server_default="", nullable=False))
    op.add_column("account_session", sa.Column("id_token", sa.LargeBinary(), nullable=True))
    _passkeys()


def _passkeys() -> None:
    op.create_table(
        "passkey",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("credential", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.Column("host", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("used_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_passkey_account_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passkey")),
        sa.UniqueConstraint("credential", name=op.f("uq_passkey_credential")),
    )
    op.create_index(op.f("ix_passkey_account_id"), "passkey", ["account_id"])
    op.create_table(
        "spent",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_spent")),
    )
    op.create_index(op.f("ix_spent_expires_at"), "spent", ["expires_at"])


def downgrade() -> None:
    for table in ("spent", "passkey"):
        op.drop_table(table)
    for name in (*_OF_SESSION, "id_token"):
        op.drop_column("account_session", name)
    for name in (*_OF_ACCOUNT, "set_up_digest", "set_up_expires_at", "public_keys"):
        op.drop_column("account", name)
    op.drop_column("stored_object", "user_name")
