"""The store behind Supabase's Data API."""
