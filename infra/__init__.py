"""The infrastructure of a release: servers as one group, Ray, containers, Kubernetes, the doctor."""
