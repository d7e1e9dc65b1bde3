"""What a release runs on: servers as one group, Ray, containers, Kubernetes, the doctor."""
