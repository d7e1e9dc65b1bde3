"""The services of a release as containers, and the script that generates their secrets."""
