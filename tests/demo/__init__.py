"""`make demo`: a catalogue goes from the PMS to verified webhooks, on real parts."""
