-- Login attempts without a success, by the SHA-256 of the address. A new table: the releases before don't know it.
create table if not exists login_attempts (
    address_hash bytea primary key check (length(address_hash) = 32),
    attempts     integer not null default 1,
    last_at      timestamptz not null default now()
);
create index if not exists login_attempts_age on login_attempts (last_at);
