-- The schema of 1.0.0. Migrations only ever expand: the release before must keep working on the result.
create table users (
    id            bigint generated always as identity primary key,
    email         text not null check (length(email) between 3 and 254),
    name          text not null check (length(name) between 1 and 80),
    role          text not null check (role in ('owner', 'member')),
    password_hash text not null,
    created_at    timestamptz not null default now()
);
create unique index users_email on users (lower(email));
-- The account has one owner: of two welcomes at once, one fails here.
create unique index users_one_owner on users (role) where role = 'owner';

-- The cookie holds a random ticket, this table only its SHA-256: a copy of the database opens no session.
create table sessions (
    ticket_hash  bytea primary key check (length(ticket_hash) = 32),
    user_id      bigint not null references users on delete cascade,
    created_at   timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    expires_at   timestamptz not null
);
create index sessions_user on sessions (user_id);

create table invitations (
    token_hash bytea primary key check (length(token_hash) = 32),
    email      text not null check (length(email) between 3 and 254),
    name       text not null check (length(name) between 1 and 80),
    invited_by bigint not null references users on delete cascade,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at    timestamptz
);

create table boards (
    id         bigint generated always as identity primary key,
    name       text not null check (length(name) between 1 and 80),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table lanes (
    id         bigint generated always as identity primary key,
    board_id   bigint not null references boards on delete cascade,
    name       text not null check (length(name) between 1 and 80),
    position   integer not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index lanes_board on lanes (board_id, position);

create table cards (
    id          bigint generated always as identity primary key,
    lane_id     bigint not null references lanes on delete cascade,
    title       text not null check (length(title) between 1 and 200),
    description text not null default '' check (length(description) <= 10000),
    assignee_id bigint references users on delete set null,
    position    integer not null,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now()
);
create index cards_lane on cards (lane_id, position);

-- What a POST with an Idempotency-Key answered, for a client that asks again because the answer was lost.
create table idempotency_keys (
    user_id      bigint not null references users on delete cascade,
    key          text not null check (length(key) between 1 and 128),
    request_hash bytea not null,
    response     jsonb,
    created_at   timestamptz not null default now(),
    primary key (user_id, key)
);
create index idempotency_keys_age on idempotency_keys (created_at);

-- One row for each change, written by the transaction that makes the change.
create table outbox (
    id          bigint generated always as identity primary key,
    occurred_at timestamptz not null default now(),
    actor       bigint,
    kind        text not null,
    entity      text not null,
    payload     jsonb not null
);
