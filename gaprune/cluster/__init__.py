"""Ray: candidates carried to the processes of one machine or a cluster, and their numbers back."""
