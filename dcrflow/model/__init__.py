"""The small types that every layer passes around: configuration, detector-visits, pixels with mask and variance."""
