"""The worker daemon of a product management system on Supabase."""
