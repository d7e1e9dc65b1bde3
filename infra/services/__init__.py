"""The servers of `olmo up` as one group: programs, supervisor, tokens, PostgreSQL."""
