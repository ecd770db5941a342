"""The revisions, each as it was when it was released: they import nothing of this program."""
