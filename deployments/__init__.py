"""Deployments for the dashboard, their schedules, and automations."""
