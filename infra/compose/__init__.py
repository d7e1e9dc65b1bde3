"""The services of a release as containers, and the script that makes their secrets."""
