"""What works on the whole database, with all of psycopg; a Lambda function has none of it."""
