"""The task domain as a web service with a page that shows it live: `make service`."""
