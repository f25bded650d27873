__version__ = "0.1.0"
"Does a tweet report a real disaster? A machine-learning study written in notebooks."
