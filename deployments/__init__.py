"""What can be started from a dashboard, what runs by schedule, and what is listened for."""
