-- 1.1.0: since when a card has its due date. Nullable and without a default: no row is rewritten, and 1.0.0, which doesn't know
-- it, leaves it as it is. Dates that were set before have none.
--
-- The lock on the table is held for a moment, but who waits for it holds up everybody behind: not for long, then. `migrate`
-- tries again.
set local lock_timeout = '500ms';
alter table cards add column if not exists due_set_at timestamptz;
