"""Settings that are kept in Secrets Manager, or in Parameter Store as a SecureString."""

import msgspec

from bitespeed.aws_json import AwsService, ServiceFailed
from bitespeed.errors import BitespeedError, Unavailable

TIMEOUT = 3.0  # seconds; an environment must be ready within ten

_decode = msgspec.json.Decoder(dict[str, str]).decode


async def fetch(arn: str) -> dict[str, str]:
    """The JSON object of variables and values under the ARN.

    Raises `Unavailable` when it cannot be had now.
    """
    match arn.split(":", 5):
        case ["arn", _, "secretsmanager", region, _, _]:
            service = AwsService("secretsmanager", region, "secretsmanager", "1.1")
            call = service.call("GetSecretValue", TIMEOUT, SecretId=arn)
        case ["arn", _, "ssm", region, _, _]:
            service = AwsService("ssm", region, "AmazonSSM", "1.1")
            call = service.call("GetParameter", TIMEOUT, Name=arn, WithDecryption=True)
        case _:
            raise BitespeedError("BITESPEED_SETTINGS_ARN must be of a secret or a parameter")
    try:
        answer = await call
    except ServiceFailed as error:
        raise Unavailable(f"The settings cannot be fetched: {error.aws_code}; try again") from error
    finally:
        service.close()  # the next call comes when the secret has changed, if ever
    text = answer["SecretString"] if "SecretString" in answer else answer["Parameter"]["Value"]
    try:
        return _decode(text)
    except msgspec.MsgspecError:
        raise BitespeedError(
            "The secret settings must be a JSON object of variables and texts"
        ) from None
