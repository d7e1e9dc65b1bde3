"""What a release runs on: its profile, servers as one group, Ray, containers, Kubernetes, the doctor."""
