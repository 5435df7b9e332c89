-- 1.1.0. Nullable and without a default: 1.0.0 neither writes nor reads it, and no row is rewritten.
alter table cards add column if not exists due_on date;
