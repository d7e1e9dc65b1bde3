"""The infrastructure of a release: its profile, servers as one group, Ray, containers, Kubernetes, the doctor."""
